"""Three commands to try on what has just been started."""

from __future__ import annotations

QUESTION = '{"text": "What happens when a worker dies?"}'


def hints(url: str, agents: list[str]) -> list[str]:
    """Commands that work with these agents as they are."""
    name = "support" if "support" in agents else agents[0]
    body = QUESTION if name == "support" else "@input.json"
    shell = f"'{body}'" if body is QUESTION else body
    lines = [
        f"./rubato run {name} {shell}",
        f"curl -s {url}/v1/agents/{name}/run -H 'Content-Type: application/json' -d {shell}",
    ]
    if "documents" in agents:
        lines.append("./rubato submit documents --each samples/* --wait")
    else:
        lines.append(f"./rubato submit {name} {shell} --wait")
    return lines
