"""A piece of script for widgets that look at what stands around them on the page."""

from __future__ import annotations

# A widget's script begins before its element is on the page. `onceOnPage(element, begin)` calls
# `begin` as soon as it is, and returns what gives up waiting for that.
ONCE_ON_PAGE = """
const onceOnPage = (element, begin) => {
  let frame;
  const look = () => {
    if (element.isConnected) begin();
    else frame = requestAnimationFrame(look);
  };
  look();
  return () => cancelAnimationFrame(frame);
};
"""
