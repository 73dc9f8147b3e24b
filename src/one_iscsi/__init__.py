"""EBS-like block volumes for OpenNebula on an iSCSI SAN."""

__version__ = "0.1.0"
