"""What a browser is called: a person who looks where they are signed in knows "Firefox on Windows", no user agent.

Names are looked for in order: nearly every browser claims to be others, too, and says its own name besides.
"""

from __future__ import annotations

BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("HeadlessChrome", "Chrome without a window"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(agent: str) -> str:
    """ "Chrome on Android", of a User-Agent header; what is no browser as it calls itself, up to 70 characters."""
    browser, system = (next((name for sign, name in known if sign in agent), "") for known in (BROWSERS, SYSTEMS))
    if browser and system:
        return f"{browser} on {system}"
    return agent if len(agent) <= 70 else f"{agent[:69]}…"
