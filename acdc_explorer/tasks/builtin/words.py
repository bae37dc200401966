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
# Names that nearly always are a man's and a woman's.
_MEN = """
    Aaron Adam Alexander Andrew Anthony Benjamin Bradley Brandon Brian Bryan Charles Christopher
    Daniel David Dustin Eric Gregory Jacob James Jason Jeffrey Jeremy John Jonathan Jose Joseph
    Joshua Justin Kenneth Kevin Kyle Mark Matthew Michael Nathan Nicholas Patrick Paul Richard
    Robert Ryan Samuel Scott Sean Stephen Steven Thomas Timothy Travis Tyler William
"""
_WOMEN = """
    Alicia Allison Amanda Amber Amy Andrea Angela Ashley Brittany Christina Christine Courtney
    Crystal Danielle Elizabeth Emily Erica Erin Heather Jennifer Jessica Katherine Katie Kimberly
    Kristen Laura Lauren Lindsay Lindsey Lisa Mary Megan Melissa Michelle Nicole Rachel Rebecca
    Samantha Sara Sarah Stephanie Tiffany Vanessa
"""
_PLACES = """
    store garden restaurant school hospital office house station park market library museum
    beach church hotel theater bank farm airport bridge
"""
_OBJECTS = """
    ring kiss bone basketball computer necklace drink snack book letter ball bag box phone
    ticket flower camera jacket map coin
"""

_NOUNS = """
    apple arm army baby bed bird boat body book box boy bread bridge brother car cat chair child
    church city class clock cloud coat corn cup day doctor dog door dream ear egg eye face family
    farm father field fire fish floor flower food foot friend game garden girl glass gold hand
    hat head heart hill home horse house ice island key king kitchen lake land leg letter light
    line lion map meat milk money moon mother mountain mouth name neck night nose office oil
    page paper party picture plane plant plate queen rain ring river road rock room rose salt
    school sea ship shoe shop sister sky snow song star stone street student sugar sun table
    teacher team tower town train tree voice wall war watch water wheel wind window wine winter
    woman wood word world year
"""

# Each name is one token, with its leading space, in GPT-2's tokenizer too.
NAMES: tuple[str, ...] = tuple(_NAMES.split())
MEN: tuple[str, ...] = tuple(_MEN.split())
WOMEN: tuple[str, ...] = tuple(_WOMEN.split())
PLACES: tuple[str, ...] = tuple(_PLACES.split())
OBJECTS: tuple[str, ...] = tuple(_OBJECTS.split())
# Short common nouns, one token each in GPT-2's tokenizer with their leading space.
NOUNS: tuple[str, ...] = tuple(_NOUNS.split())
