"""The conformance kit: classes that plugin authors subclass to test what they offer.

One class for each interface. A subclass whose name begins with ``Test`` supplies the object and
samples; pytest collects the checks that it inherits. Only tests import this package: it needs
nothing but the kernel, and pytest finds it without being imported here.

Examples
--------
>>> from git_theta.serializers.raw import Raw
>>> class TestRaw(SerializerConformance):
...     "Raw keeps every promise of a serializer."
...     serializer = Raw()
"""

from git_theta.testing.formats import FormatConformance
from git_theta.testing.serializers import SerializerConformance
from git_theta.testing.stores import StoreConformance
from git_theta.testing.updates import Pair, UpdateTypeConformance
from git_theta.testing.values import Value

__all__ = [
    "FormatConformance",
    "Pair",
    "SerializerConformance",
    "StoreConformance",
    "UpdateTypeConformance",
    "Value",
]
