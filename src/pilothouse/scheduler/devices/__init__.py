"""Dynamic resource allocation (KEP-4381): which devices of ResourceSlices satisfy the ResourceClaims of a pod on a node.

`requests` is what claims ask for, `inventory` what there is and what is taken, `search` the first fit, `capacity` shares of devices
that several claims use, `result` the allocation as claims carry it, `binder` its writing.
"""

#: The resources that allocation looks at, by plural.
CLAIMS, SLICES, DEVICE_CLASSES = "resourceclaims", "resourceslices", "deviceclasses"
