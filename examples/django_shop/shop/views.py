"""Pages."""

from datetime import timedelta

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from faktory.contrib.django import enqueue_on_commit

from .models import Order
from .tasks import ask_for_review, check_stock, send_receipt


@csrf_exempt
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    """Store an order. Its jobs are pushed when it can be found in the database, and not at all if it cannot."""
    with transaction.atomic():
        order = Order.objects.create(email=request.POST["email"], amount=int(request.POST["amount"]))
        order.receipt = enqueue_on_commit(send_receipt, order.pk) or ""
        enqueue_on_commit(check_stock, order.pk)
        enqueue_on_commit(ask_for_review.using(run_after=timezone.now() + timedelta(days=3)), order.pk)
        if order.amount < 1:
            raise ValueError("nothing was ordered")
        order.save()
    return JsonResponse({"order": order.pk, "receipt": order.receipt}, status=201)
