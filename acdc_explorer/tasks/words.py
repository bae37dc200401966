"""Words that tasks put into their sentences."""

from __future__ import annotations

_NAMES = """
    Aaron Adam Alexander Alicia Allison Amanda Amber Amy Andrea Andrew Angela Anthony Ashley
    Benjamin Bradley Brandon Brian Brittany Bryan Charles Christina Christine Christopher Cody
    Courtney Crystal Daniel Danielle David Dustin Elizabeth Emily Eric Erica Erin Gregory
    Heather Jacob James Jamie Jason Jeffrey Jennifer Jeremy Jesse Jessica John Jonathan Jose
    Joseph Joshua Justin Katherine Katie Kelly Kenneth Kevin Kimberly Kristen Kyle Laura Lauren
    Lindsay Lindsey Lisa Mark Mary Matthew Megan Melissa Michael Michelle Nathan Nicholas Nicole
    Patrick Paul Rachel Rebecca Richard Robert Ryan Samantha Samuel Sara Sarah Scott Sean
    Shannon Stephanie Stephen Steven Thomas Tiffany Timothy Travis Tyler Vanessa William
"""
_PLACES = """
    store garden restaurant school hospital office house station park market library museum
    beach church hotel theater bank farm airport bridge
"""
_OBJECTS = """
    ring kiss bone basketball computer necklace drink snack book letter ball bag box phone
    ticket flower camera jacket map coin
"""

# Each name is one token, with its leading space, in GPT-2's tokenizer too.
NAMES: tuple[str, ...] = tuple(_NAMES.split())
PLACES: tuple[str, ...] = tuple(_PLACES.split())
OBJECTS: tuple[str, ...] = tuple(_OBJECTS.split())
