"""Names in requests. What a page can forge is refused, what a person types is not."""

from __future__ import annotations

import pytest

from mmpipe.errors import InputError
from mmpipe.serve.hosts import Hosts, neighbourhood, split_host, split_origin
from mmpipe.serve.network import NetworkOptions

#: Of which the first makes urllib raise.
MALFORMED = ["http://[::1", "http://[", "http://[v1.x]", "//", "null", "", "http://a b", "http://\x00", "http://ex_?x"]


@pytest.mark.parametrize("bound", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_only_its_own_names_count(bound: str) -> None:
    hosts = Hosts(bound)
    for own in ("localhost:7860", "LOCALHOST", "127.0.0.1:1", "[::1]:7860", "[::1]", "localhost.:80"):
        assert hosts.allow(own), own
    for foreign in ("evil.example:7860", "127.0.0.1.evil.example", "192.168.1.5:7860", "localhost.evil.example", ""):
        assert not hosts.allow(foreign), foreign


@pytest.mark.parametrize("bound", ["0.0.0.0", "192.168.1.5", "::"])
def test_for_others_an_address_is_enough_and_a_name_must_be_listed(bound: str) -> None:
    hosts = Hosts(bound, ["box.lan"])
    for own in ("192.168.1.5:7860", "[fe80::1]:7860", "box.lan:7860", "Box.LAN", "localhost:7860"):
        assert hosts.allow(own), own
    for foreign in ("evil.example", "box.lan.evil.example", "192.168.1.5.evil.example", "x.box.lan", "1.2.3.4@evil"):
        assert not hosts.allow(foreign), foreign


def test_a_star_allows_every_name_and_a_name_can_come_later() -> None:
    assert Hosts("127.0.0.1", ["*"]).allow("anything.example:1")
    hosts = Hosts("127.0.0.1")
    hosts.add("abc.gradio.live")
    assert hosts.allow("abc.gradio.live")


@pytest.mark.parametrize("origin", MALFORMED)
def test_a_malformed_origin_is_foreign_rather_than_an_error(origin: str) -> None:
    assert split_origin(origin) is None
    assert not Hosts("127.0.0.1").allow_origin(origin, "127.0.0.1:7860")


def test_a_page_talks_to_the_server_it_came_from_and_this_machine_to_all() -> None:
    hosts = Hosts("0.0.0.0", origins=["https://example.org"])
    assert hosts.allow_origin(None, "192.168.1.5:7860")  # a program
    assert hosts.allow_origin("http://192.168.1.5:7860", "192.168.1.5:7860")
    assert hosts.allow_origin("http://localhost:3000", "192.168.1.5:7860")
    assert hosts.allow_origin("https://example.org", "127.0.0.1:7860")
    assert not hosts.allow_origin("http://192.168.1.5:8080", "192.168.1.5:7860")
    assert not hosts.allow_origin("https://evil.example", "192.168.1.5:7860")
    assert not hosts.allow_origin("https://localhost.evil.example", "192.168.1.5:7860")


@pytest.mark.parametrize("host", ["a" * 300, "a..", "[::1", "a:b", "a:123456", "[127.0.0.1]x", "a/b", "a\r\nb", "-a"])
def test_what_is_no_host_is_none(host: str) -> None:
    assert split_host(host) is None
    assert not Hosts("0.0.0.0").allow(host)


def test_options_that_nothing_could_satisfy_are_refused_with_how_to_write_them() -> None:
    with pytest.raises(InputError, match="without a scheme"):
        NetworkOptions(allowed_hosts=("https://example.org",))
    with pytest.raises(InputError, match=r"192\.0\.2\.0/24"):
        NetworkOptions(trusted_proxies=("proxy.lan",))
    with pytest.raises(InputError, match="above 0"):
        NetworkOptions(max_connections=0)


def test_one_sender_of_ipv6_is_a_whole_network() -> None:
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1")
    assert neighbourhood("2001:db8::1") != neighbourhood("2001:db8:0:1::1")
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")
