"""Packs and the places that keep them."""
