local suspended = obj.spec.suspend == true
return {
  ["new-address"] = { disabled = suspended },
  ["revoke"] = { disabled = suspended },
}
