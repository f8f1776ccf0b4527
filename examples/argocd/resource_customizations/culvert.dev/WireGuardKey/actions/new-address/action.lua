-- New addresses for the same public key; the old ones work on for the pool's overlap. Another key pair cannot be made here: its
-- private half would have to be somewhere other than with its user.
obj.spec.addressGeneration = (obj.spec.addressGeneration or 0) + 1
return obj
