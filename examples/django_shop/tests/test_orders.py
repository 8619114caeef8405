"""What a view enqueues, and what the jobs do."""

from datetime import date, timedelta

from django.core import mail
from django.test import TestCase, TransactionTestCase
from django.utils import timezone
from shop.jobs import close_orders
from shop.models import Order
from shop.tasks import ask_for_review, charge, check_stock, send_receipt

import faktory.testing
from faktory.contrib.django import consumer


class OrderTest(faktory.testing.TestCase, TestCase):
    """Jobs are captured. `TestCase` never commits, so that `captureOnCommitCallbacks` says when it would."""

    def test_an_order_enqueues_its_jobs_on_commit(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post("/orders/", {"email": "you@example.org", "amount": 3})
            self.assertEqual(self.faktory_jobs, [])
        order = Order.objects.get()
        receipt, stock, review = self.faktory_jobs
        self.assertEqual(answer.json(), {"order": order.pk, "receipt": receipt.jid})
        self.assertEqual(order.receipt, receipt.jid)
        self.assertEqual((receipt.jobtype, receipt.queue, receipt.retry), ("shop.tasks.send_receipt", "mail", 3))
        self.assertEqual(stock.args, [{"args": [order.pk], "kwargs": {}}])
        self.assertGreater(review.at, timezone.now() + timedelta(days=2))

    def test_an_order_that_is_rolled_back_enqueues_nothing(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), self.assertRaises(ValueError):
            self.client.post("/orders/", {"email": "you@example.org", "amount": 0})
        self.assertFalse(Order.objects.exists())
        self.assertEqual(self.faktory_jobs, [])

    def test_a_receipt_is_sent_once(self) -> None:
        order = Order.objects.create(email="you@example.org", amount=3)
        for _ in range(2):
            send_receipt.enqueue(order.pk)
        self.faktory_jobs.drain()
        self.assertEqual([message.to for message in mail.outbox], [["you@example.org"]])
        order.refresh_from_db()
        self.assertEqual(order.status, "confirmed")

    def test_a_charge_fails_and_says_which_attempt_it_was(self) -> None:
        charge.enqueue(7)
        with self.assertRaisesMessage(ConnectionError, "attempt 1: the bank does not answer for the order 7"):
            self.faktory_jobs.drain()

    def test_a_typed_job_beside_the_tasks(self) -> None:
        Order.objects.create(email="you@example.org", amount=3, status="confirmed")
        self.assertEqual(faktory.testing.run(close_orders, date(2026, 11, 26)), 1)

    def test_the_admin_is_there(self) -> None:
        self.assertEqual(self.client.get("/admin/login/").status_code, 200)


class WorkerTest(faktory.testing.TestCase, TransactionTestCase):
    """A server in memory, and a worker whose threads have connections of their own: so data must be committed."""

    faktory_mode = "serve"

    def test_a_worker_runs_what_a_view_has_enqueued(self) -> None:
        self.client.post("/orders/", {"email": "you@example.org", "amount": 2_000})
        worker = faktory.testing.Worker(consumer().workers(1), ["default", "mail"])
        self.addCleanup(worker.close)
        self.assertEqual(worker.drain().succeeded, 2)
        self.assertEqual(Order.objects.get().status, "waiting")
        self.assertFalse(Order.objects.get().asked)
        self.faktory_server.clock.advance(timedelta(days=3).total_seconds())
        worker.drain()
        self.assertTrue(Order.objects.get().asked)

    def test_the_names_of_tasks_stay(self) -> None:
        """Jobs that wait carry them: who moves a task leaves the old one until its jobs are done."""
        names = [task.module_path for task in (send_receipt, check_stock, ask_for_review, charge)]
        known = ["send_receipt", "check_stock", "ask_for_review", "charge"]
        self.assertEqual(names, [f"shop.tasks.{name}" for name in known])
