# SPDX-License-Identifier: Apache-2.0
"""The addresses of a test cluster, the same in each."""
import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One IP family. `ip`: the command; `forward`: the setting by which a machine is a router; `added`: what an address
    needs to be usable at once."""
    everything: str
    machines: ipaddress.IPv4Network | ipaddress.IPv6Network
    pods: ipaddress.IPv4Network | ipaddress.IPv6Network
    pod_bits: int
    services: ipaddress.IPv4Network | ipaddress.IPv6Network
    ip: tuple = ("ip",)
    forward: str = "net.ipv4.ip_forward"
    added: tuple = ()

    def machine(self, number):
        return str(self.machines[number])

    @property
    def bits(self):
        return self.machines.prefixlen

    @property
    def control_plane(self):
        return self.machine(1)

    def pods_of(self, number):
        """The range of a node's pods."""
        size = 2 ** (self.pods.max_prefixlen - self.pod_bits)
        return f"{self.pods[number * size]}/{self.pod_bits}"


def in_url(address):
    return f"[{address}]" if ":" in address else address


IPV4 = Family("0.0.0.0", ipaddress.ip_network("10.77.0.0/24"), ipaddress.ip_network("10.244.0.0/16"), 24,
              ipaddress.ip_network("10.96.0.0/16"))
IPV6 = Family("::", ipaddress.ip_network("fd77::/64"), ipaddress.ip_network("fd44::/48"), 64,
              ipaddress.ip_network("fd96::/112"), ("ip", "-6"), "net.ipv6.conf.all.forwarding", ("nodad",))
# The first is that of nodes, and of services that ask for none.
FAMILIES = {"ipv4": (IPV4,), "ipv6": (IPV6,), "dual": (IPV4, IPV6)}


def listed(values):
    """As Kubernetes' flags take one of each family."""
    return ",".join(str(value) for value in values)
