"""What people are told can be acted on as it stands: paths lead somewhere, commands can be copied."""

import json
import subprocess
import sys
from pathlib import Path

MANIFEST = {
    "callsheet": 1,
    "name": "one",
    "catalogue": {"source": "shop/products.csv", "key": "sku"},
    "targets": {
        "still": {
            "uses": "creatify/product-image",
            "with": {"product_url": "https://cdn.example.com/a.png", "type": "product_avatar"},
        }
    },
}


def campaign(folder: Path, rows: str) -> None:
    """A campaign in ``folder/c`` with these rows."""
    (folder / "c" / "shop").mkdir(parents=True)
    (folder / "c" / "campaign.yaml").write_text(json.dumps(MANIFEST))
    (folder / "c" / "shop" / "products.csv").write_text(rows)


def callsheet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, run in ``folder``."""
    command = [sys.executable, "-m", "runner", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_fault_in_the_catalogue_names_a_path_that_opens(tmp_path: Path) -> None:
    """The catalogue lies beside the manifest, not in the working folder: its path says so."""
    campaign(tmp_path, "sku,title,title\nA,b,c\n")
    assert callsheet(tmp_path, "validate", "c").stderr.startswith(f"{Path('c/shop/products.csv')}:1:1: ")


def test_one_is_singular(tmp_path: Path) -> None:
    """One product is no products."""
    campaign(tmp_path, "sku,title\nA,b\n")
    assert callsheet(tmp_path, "validate", "c").stdout == "one: good. 1 product, 1 target, 1 job.\n"


def test_the_plan_of_a_rehearsal_is_run_as_a_rehearsal(tmp_path: Path) -> None:
    """The command that plan prints does what it was asked for when it is copied."""
    campaign(tmp_path, "sku,title\nA,b\n")
    said = callsheet(tmp_path, "plan", "c", "--rehearse", "--out", "p.json").stdout
    assert said.endswith("run exactly this with: callsheet run c --rehearse --plan p.json\n")


def test_a_missing_file_of_faults_is_named(tmp_path: Path) -> None:
    """A wrong name on the command line is the user's mistake, not an accident."""
    campaign(tmp_path, "sku,title\nA,b\n")
    ended = callsheet(tmp_path, "run", "c", "--rehearse", "--faults", "nope.json")
    assert (ended.returncode, "nope.json" in ended.stderr) == (2, True)


def test_closed_streams_are_no_accident(tmp_path: Path) -> None:
    """With its output closed the command does its work and says it to nobody."""
    campaign(tmp_path, "sku,title\nA,b\n")
    command = f'"{sys.executable}" -m runner validate c >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=60, check=False).returncode == 0
