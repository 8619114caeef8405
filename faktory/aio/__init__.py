"""The async shell, written once over a small kit. `faktory.asyncio` and `faktory.trio` bind it."""
