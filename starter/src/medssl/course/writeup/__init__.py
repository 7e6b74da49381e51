"""From the JSON of weeks 1-8 to a paper: nobody types a number."""

from medssl.course.writeup.collect import Collected, collect

__all__ = ["Collected", "collect"]
