"""The async shell, written once over a small backend. `faktory.asyncio` and `faktory.trio` bind it."""
