"""A part of a minute of conversations and requests with real servers. `make fuzz` does hours of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import campaign, corpus, requesting, talking
from fuzzing.outcome import TOLERATED
from fuzzing.watched import WatchedServer


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    server = WatchedServer("serve", tmp_path_factory.mktemp("serve"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    server = WatchedServer("demo", tmp_path_factory.mktemp("demo"))
    yield server
    server.close()


@pytest.mark.parametrize("acts", corpus.CONVERSATIONS, ids=repr)
def test_a_conversation_that_once_went_wrong(serve: WatchedServer, acts: list) -> None:
    assert not [*talking.Conversation(serve, Counter()).run(acts), *serve.faults(300)]


@pytest.mark.parametrize("requests", corpus.REQUESTS, ids=repr)
def test_a_request_that_once_went_wrong(demo: WatchedServer, requests: list) -> None:
    found = [*requesting.Exchange(demo, Counter()).run(requests), *demo.faults(300)]
    assert not [failure for failure in found if failure.kind != TOLERATED]


def test_whatever_a_client_says_the_server_goes_on(tmp_path: Path) -> None:
    tally = campaign.run(campaign.Plan("protocol", 12))
    assert not tally.failed, tally.first
    assert tally.counts["messages"] > 2_000
    assert tally.counts["sessions"] > 100 and tally.counts["resumed"] > 10  # it gets further than the door


def test_whatever_is_asked_over_http_is_answered() -> None:
    tally = campaign.run(campaign.Plan("http", 4))
    assert not tally.failed, tally.first
    assert tally.counts["requests"] > 100
    assert tally.counts["HTTP 2xx"] > 5 and tally.counts["HTTP 4xx"] > 30
