-- Takes the peer off every gateway and gives the addresses back. An action can change an object and not delete it; the object is
-- removed in Git.
obj.spec.suspend = true
return obj
