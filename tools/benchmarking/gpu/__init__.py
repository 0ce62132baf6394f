"""Measurements on a GPU machine without a package index: prepared in advance, run there by three short commands."""
