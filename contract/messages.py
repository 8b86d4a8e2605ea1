"""What whoever sends a step and whoever works it agree on: names of tasks, and how Celery carries the messages.

Messages carry ids and nothing else. All of them may be lost, and each may come twice.
"""

from typing import Final

from contract.settings import Settings
from contract.steps import Step, StepKind
from contract.submission import Queue

SWEEP: Final = "landsigma.sweep"
"""Sends what the ledger says is due, and removes what ended jobs left behind."""
TICK: Final = "landsigma.tick"
"""Opens the runs of schedules whose time has come."""
PRIORITIES: Final = tuple(range(10))
"""Each has a list of its own in Redis, read in this order. Sender and receiver must name the lists alike."""
CONNECT_S: Final = 1.0
"""Redis is near: one that does not answer by then is down."""
_BRIEFLY: Final = {"max_retries": 2, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 0.4}


def task_name(kind: StepKind) -> str:
    """The name of the task that works steps of this kind."""
    return f"landsigma.{kind.value}"


def arguments(step: Step) -> tuple[str] | tuple[str, int]:
    """What a step's message says."""
    return (step.job_id, step.index) if step.kind is StepKind.BLOCK else (step.job_id,)


def celery_options(settings: Settings) -> dict[str, object]:
    """Celery's configuration, the same for sender, worker and beat."""
    broker = settings.broker_url
    return {
        "broker_url": None if broker is None else broker.get_secret_value(),
        "broker_transport_options": {
            # A message that is not acknowledged by then is delivered to another worker as well.
            "visibility_timeout": settings.visibility_timeout_s,
            "priority_steps": list(PRIORITIES),
            # Queues in the order in which a worker names them: "plan" before blocks, so that jobs get under way.
            "queue_order_strategy": "priority",
            # A Redis that vanished is noticed, and HTTP does not hang on one that is away.
            "socket_connect_timeout": CONNECT_S,
            **_BRIEFLY,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        # Nothing but JSON is read: a message cannot name code.
        "accept_content": ["json"],
        "task_serializer": "json",
        # The ledger has the results.
        "task_ignore_result": True,
        "task_default_queue": Queue.PLAN.value,
        # Acknowledged when the step is over: a message outlives the worker that had it, and goes back when one of its
        # processes dies.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # One message at a time for each process; what waits, waits where every worker can take it. The count of steps in
        # work says so, and not that of messages without an acknowledgement (a multiplier above 0): one that could not be
        # acknowledged, since Redis was away, would be counted for ever, and the worker never look for another.
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 0,
        # About a second in all; the ledger keeps what could not be sent.
        "task_publish_retry": True,
        "task_publish_retry_policy": _BRIEFLY,
        # A worker waits for Redis for as long as it takes, from its start on.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # The step goes on while Redis is away: it is the ledger that it reports to.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Nobody asks workers by broadcast; the connections for it would be one more thing to come back from an outage.
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # Processes of a busy machine take longer than the 4 s that are usual.
        "worker_proc_alive_timeout": 60.0,
    }
