"""The shop's tasks. A worker imports this file by itself; only what is declared in such files runs."""

from django.core.mail import send_mail
from django.tasks import TaskContext, task

from .models import Order


@task(queue_name="mail", retry=3, timeout=30)
def send_receipt(order: int) -> None:
    """Send a receipt. It may run twice, so it looks first whether it was sent."""
    found = Order.objects.get(pk=order)
    if found.status == "placed":
        send_mail("Your order", f"{found.amount} apples are on their way.", "shop@example.org", [found.email])
        Order.objects.filter(pk=order).update(status="confirmed")


@task(timeout=10)
async def check_stock(order: int) -> None:
    """Look into the stock; async code may use the database, too."""
    found = await Order.objects.aget(pk=order)
    if found.amount > 1_000:
        await Order.objects.filter(pk=order).aupdate(status="waiting")


@task
def ask_for_review(order: int) -> None:
    """Ask how it was; pushed to run three days later."""
    Order.objects.filter(pk=order).update(asked=True)


@task(queue_name="slow", retry=2, takes_context=True)
def charge(context: TaskContext, order: int) -> None:
    """Charge the customer: fails, as the bank is closed, is repeated by the server twice, and then is dead."""
    raise ConnectionError(f"attempt {context.attempt}: the bank does not answer for the order {order}")
