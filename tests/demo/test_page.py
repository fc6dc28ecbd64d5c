"""The page as a whole: nobody is kept out of it, and nothing of it goes elsewhere."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

TABS = ("Live", "Recordings", "Pictures", "Measure")


def open_tab(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title).click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    expect(panel.locator("button, h2").filter(visible=True).first).to_be_visible()


def wide(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_keeps_people_out(page: Page, server: Any, colours: Any) -> None:
    page.emulate_media(color_scheme=colours)
    page.goto(server.url)
    found = []
    for title in TABS:
        open_tab(page, title)
        found += [
            (title, violation["id"], [node["html"][:120] for node in violation["nodes"]])
            for violation in Axe().run(page)["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
    assert not found


@pytest.mark.parametrize("width_px", [390, 768])
def test_a_narrow_screen_shows_everything_without_scrolling_sideways(page: Page, width_px: int) -> None:
    page.set_viewport_size({"width": width_px, "height": 844})
    for title in TABS:
        expect(page.get_by_role("tab", name=title)).to_be_visible()
        open_tab(page, title)
        assert wide(page) == 0, title


def test_no_request_leaves_the_machine(browser: Browser, server: Any) -> None:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(60_000)
    page = context.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.on("websocket", lambda socket: asked.add(socket.url))
    page.goto(server.url)
    for title in TABS:
        open_tab(page, title)
    context.close()
    here = urlsplit(server.url).netloc
    assert len(asked) > 20
    assert {
        url for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).netloc != here
    } == set()


def test_the_browser_lets_the_page_reach_nobody_else(browser: Browser, server: Any) -> None:
    page = browser.new_page()
    page.goto(server.url)
    refused = page.evaluate(
        """async () => {
            const refused = [];
            addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
            await fetch("http://127.0.0.1:9/").catch(() => null);
            document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/x.png"}));
            document.head.prepend(Object.assign(document.createElement("base"), {href: "http://127.0.0.1:9/"}));
            await new Promise((done) => setTimeout(done, 200));
            return refused;
        }"""
    )
    page.close()
    assert {"connect-src", "img-src", "base-uri"} <= set(refused)


def test_every_control_of_the_live_tab_is_reached_by_keyboard(page: Page) -> None:
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    page.get_by_label("Speak the translation").check()
    wanted = page.locator(".mm-live :is(button, select, input):visible:enabled, .mm-live [tabindex]")
    names = set(wanted.evaluate_all("found => found.map((element) => element.dataset.part)"))
    assert {"from", "to", "two-way", "voice", "headphones", "start", "scroll"} <= names
    reached = set()
    page.get_by_role("tab", name="Live").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.part"))
    assert names <= reached


def test_the_pickers_tell_how_good_a_pair_is(page: Page) -> None:
    tier = page.locator("[data-part=tier]")
    expect(tier).to_contain_text("English to Portuguese: good")
    page.get_by_label("Two-way conversation").check()
    expect(tier).to_contain_text("Portuguese to English: good")
    page.get_by_label("Two-way conversation").uncheck()
    page.get_by_label("I speak").select_option("")
    expect(tier).to_contain_text("depends on the language")
    expect(page.get_by_label("Translate into").locator("optgroup").first).to_have_attribute("label", "Quality: good")


def test_the_head_says_when_all_is_ready(page: Page) -> None:
    expect(page.locator(".mm-status")).to_have_text(re.compile("Ready"))
