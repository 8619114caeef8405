"""A typed job beside the tasks: it takes what JSON has not, and checks it when it is enqueued."""

from datetime import date

from faktory.contrib.django import app_from_settings

from .models import Order

app = app_from_settings()


@app.job(retry=3)
def close_orders(until: date, status: str = "closed") -> int:
    """Close the orders of a day; return how many those are."""
    print(f"closing the orders until {until:%d %B %Y}")
    return Order.objects.filter(status="confirmed").update(status=status)
