"""What is sold."""

from django.db import models


class Order(models.Model):
    """An order of a customer, and what has become of it."""

    email = models.EmailField()
    amount = models.IntegerField()
    receipt = models.CharField(max_length=100, default="")
    """The jid of the job that sends the receipt."""
    status = models.CharField(max_length=20, default="placed")
    asked = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"order {self.pk} of {self.email}"
