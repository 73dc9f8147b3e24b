"""Hosts: the initiator and the hypervisor of a node, reached by one script a step."""

from one_iscsi.nodes.check import Checked
from one_iscsi.nodes.hypervisors import target_names
from one_iscsi.nodes.node import Attached, Node, Seen, Visit

__all__ = ["Attached", "Checked", "Node", "Seen", "Visit", "target_names"]
