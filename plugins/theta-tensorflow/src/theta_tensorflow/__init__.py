"""TensorFlow and Keras files for git-theta, read without TensorFlow and without h5py.

:mod:`checkpoint` has TensorFlow's own format (:mod:`bundle` reads its index), :mod:`hdf5_file`
Keras's weights (:mod:`hdf5` reads their structure), :mod:`keras` the zip around them. What is
written anew is written by the libraries themselves, imported where they are used.
"""

__version__ = "1.0.0"
