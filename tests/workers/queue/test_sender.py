"""The ledger says what is sent; Redis gets no more than workers can soon take, and may forget everything."""

import base64
import json
import time
from typing import Any

from contract.dispatch import Dispatch
from contract.messages import task_name
from contract.request import MapRequest
from contract.settings import Settings
from contract.steps import StepKind
from contract.submission import Queue, Terms
from tests.fleet import Broker
from workers.queue.app import make_app
from workers.queue.hands import Hands
from workers.queue.sender import Sender


def messages(redis: Broker, queue: Queue) -> list[tuple[str, Any]]:
    """Task and arguments of each message that waits, in the order in which a worker gets them."""
    found = []
    with redis.client as client:
        for key in sorted(key.decode() for key in client.keys(f"{queue.value}*")):
            for raw in reversed(client.lrange(key, 0, -1)):
                message = json.loads(raw)
                found.append((message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0]))
    return found


def test_a_message_carries_ids_and_nothing_else(hands: Hands, redis: Broker, request_: MapRequest) -> None:
    job_id = hands.ledger.submit(request_)
    assert hands.sender.send()[Queue.PLAN] == 1
    assert messages(redis, Queue.PLAN) == [(task_name(StepKind.PLAN), [job_id])]


def test_no_more_is_sent_than_the_bound(hands: Hands, redis: Broker, request_: MapRequest) -> None:
    for _ in range(7):
        hands.ledger.submit(request_)
    assert hands.sender.send()[Queue.PLAN] == hands.settings.in_flight == 4
    assert hands.sender.send()[Queue.PLAN] == 0
    with redis.client as client:
        client.rpop("plan\x06\x165")
    assert hands.sender.send()[Queue.PLAN] == 1
    assert len(messages(redis, Queue.PLAN)) == 4


def test_what_waits_for_long_does_not_pile_up(hands: Hands, redis: Broker, request_: MapRequest) -> None:
    impatient = Sender(
        make_app(hands.settings), hands.ledger, Dispatch(hands.database), Settings(resend_s=0.01, in_flight=4)
    )
    for _ in range(3):
        hands.ledger.submit(request_)
    for _ in range(5):
        impatient.send()
        time.sleep(0.02)
    assert len(messages(redis, Queue.PLAN)) == 4


def test_the_most_urgent_job_comes_first_though_it_was_sent_last(
    hands: Hands, redis: Broker, request_: MapRequest
) -> None:
    slow, usual = (hands.ledger.submit(request_, terms=Terms(priority=priority)) for priority in (9, 5))
    hands.sender.send()
    urgent = hands.ledger.submit(request_, terms=Terms(priority=1))
    hands.sender.send()
    assert [arguments for _, arguments in messages(redis, Queue.PLAN)] == [[urgent], [usual], [slow]]


def test_a_redis_that_forgot_everything_gets_it_again(hands: Hands, redis: Broker, request_: MapRequest) -> None:
    hands.ledger.submit(request_)
    forgetful = Sender(make_app(hands.settings), hands.ledger, Dispatch(hands.database), Settings(resend_s=0.2))
    assert forgetful.send()[Queue.PLAN] == 1
    redis.client.flushall()
    assert forgetful.send()[Queue.PLAN] == 0
    time.sleep(0.25)
    assert forgetful.send()[Queue.PLAN] == 1
    assert len(messages(redis, Queue.PLAN)) == 1


def test_a_redis_that_is_away_delays_nobody_and_loses_nothing(
    settings: Settings, hands: Hands, request_: MapRequest
) -> None:
    nowhere = settings.model_copy(update={"broker_url": type(settings.broker_url)("redis://127.0.0.1:1/0")})
    job_id = hands.ledger.submit(request_)
    begun = time.monotonic()
    away = Sender(make_app(nowhere), hands.ledger, Dispatch(hands.database), nowhere)
    assert not any(away.send().values())
    assert time.monotonic() - begun < 5
    assert hands.sender.send()[Queue.PLAN] == 1
    assert hands.ledger.status(job_id).retries == 0
