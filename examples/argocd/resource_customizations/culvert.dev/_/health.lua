-- One script for every kind of culvert.dev. Ready is the only condition that counts; what differs is what a reason that keeps it
-- from being True means to whoever looks: wait, or do something.
local waiting = {
  NoGateway = true,
  NotAccepted = true,
  Pending = true,
  PoolInUse = true,
  RateLimited = true,
}
local asked_for = {
  Draining = true,
  Suspended = true,
}

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "the object is being deleted" }
end

local status = obj.status or {}
-- -1 stands there before the first answer, and an older number after a change.
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the change has not been answered yet" }
end

for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    local verdict = "Degraded"
    if condition.status == "True" then
      verdict = "Healthy"
    elseif asked_for[condition.reason] then
      verdict = "Suspended"
    elseif condition.status ~= "False" or waiting[condition.reason] then
      verdict = "Progressing"
    end
    return { status = verdict, message = condition.message }
  end
end

return { status = "Progressing", message = "the object has not been answered yet" }
