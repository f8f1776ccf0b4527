#!/bin/sh
# Prints a kubeconfig with the rights that examples/roles.yaml gives to one of Culvert's programs, and nothing of yours:
#
#   examples/kubeconfig.sh culvert-operator
#   examples/kubeconfig.sh culvert-node-agent NODE
#
# An agent's token is bound to its node: it speaks for no other, and is worth nothing once the Node object is gone. It
# ends after DURATION (a year); the apiserver may allow less. Make another in time, and give it to the program.
set -eu
case ${1-}:${2-} in
culvert-operator:) bound= ;;
culvert-node-agent:?*) bound="--bound-object-kind=Node --bound-object-name=$2" ;;
*)
	echo "usage: $0 culvert-operator | culvert-node-agent NODE" >&2
	exit 2
	;;
esac
cluster() {
	kubectl config view --raw --minify --flatten -o "jsonpath={.clusters[0].cluster.$1}"
}
server=$(cluster server)
authority=$(cluster certificate-authority-data)
# shellcheck disable=SC2086 # two words or none
token=$(kubectl create token "$1" --namespace culvert-system --duration "${DURATION:-8760h}" $bound)
cat <<END
apiVersion: v1
kind: Config
current-context: culvert
contexts:
  - name: culvert
    context: { cluster: culvert, user: $1, namespace: culvert-system }
clusters:
  - name: culvert
    cluster:
      server: $server
      certificate-authority-data: $authority
users:
  - name: $1
    user:
      token: $token
END
