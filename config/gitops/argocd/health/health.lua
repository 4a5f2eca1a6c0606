-- SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
-- SPDX-License-Identifier: Apache-2.0
--
-- The health of a VirtualKubeletConnector, for Argo CD. One that is being deleted is Progressing whatever this says.
local health = { status = "Progressing", message = "the operator has not looked at it yet" }
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready, stalled, reconciling = conditions["Ready"], conditions["Stalled"], conditions["Reconciling"]

if stalled ~= nil then
  health.status = "Degraded"
  if stalled.reason == "Suspended" then
    health.status = "Suspended"
  end
  health.message = stalled.message
elseif reconciling ~= nil then
  health.message = reconciling.message
elseif ready ~= nil then
  if conditions["Suspended"] ~= nil then
    health.status = "Suspended"
  elseif ready.status == "True" then
    health.status = "Healthy"
  end
  health.message = ready.message
end
return health
