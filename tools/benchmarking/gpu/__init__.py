"""Measure everything on a GPU machine that has no package index: pack here, three short commands there."""
