"""Figures as SVG text, in one quiet style; see ``style`` for what they share."""
