"""Serializers: how the numbers of an update become bytes. One file a serializer."""
