"""kube-proxy's part, for this machine: cluster IPs and node ports lead to endpoints. In userspace or by nftables, as the machine allows."""
