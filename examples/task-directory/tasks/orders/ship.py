"""The task `orders/ship`: async, with a typed payload; it adds another job."""

from dataclasses import dataclass

from tidemill import JobContext, task


@dataclass
class Order:
    id: int
    customer: str


@task(max_attempts=3, timeout=60)
async def ship(order: Order, job: JobContext) -> None:
    print(f"order {order.id} is on its way", flush=True)
    await job.add_job("greet", {"name": order.customer})
