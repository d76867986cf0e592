"""Writes docs/settings.md from the comments of kesikaran/config/schema.py and conf/: python scripts/settings_doc.py"""

from pathlib import Path

from kesikaran.config import settings_help

if __name__ == "__main__":
    path = Path(__file__).parents[1] / "docs" / "settings.md"
    path.write_text(settings_help.markdown())
    print(f"{path} is written.")
