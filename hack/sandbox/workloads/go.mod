module github.com/virtual-kubelet/connector-operator/hack/sandbox/workloads

go 1.26.0
