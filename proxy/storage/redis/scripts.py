"""Lua scripts for changes that must be atomic; Redis runs one script at a time.

Every key begins with ``{prefix}:``. The braces are a hash tag: on a Cluster, all keys of a store are on one node, so a
script may access all of them. KEYS[1] is the key ``revision``; the other keys are derived from it.
"""

from __future__ import annotations

_CHANGED = """
local function changed()
  local now = redis.call('INCR', KEYS[1])
  redis.call('PUBLISH', p .. 'changed', now)
end
"""
_HEAD = "local p = string.sub(KEYS[1], 1, -9)\n" + _CHANGED  # KEYS[1] ends in "revision", which has 8 letters

#: ARGV: name, policy, who, at -> version
PUSH = (
    _HEAD
    + """
local version = redis.call('RPUSH', p .. 'policies:' .. ARGV[1], cjson.encode({ARGV[2], ARGV[3], ARGV[4]}))
redis.call('HSET', p .. 'in_force', ARGV[1], version)
redis.call('LPUSH', p .. 'history:' .. ARGV[1], cjson.encode({version, 'push', ARGV[3], ARGV[4]}))
changed()
return version
"""
)

#: ARGV: name, version or '', who, at -> the version in force; 0: no version to roll back to; -1: no such policy
ROLL_BACK = (
    _HEAD
    + """
local now = tonumber(redis.call('HGET', p .. 'in_force', ARGV[1]))
if not now then return -1 end
local to = tonumber(ARGV[2]) or now - 1
if to < 1 or to > redis.call('LLEN', p .. 'policies:' .. ARGV[1]) then return 0 end
redis.call('HSET', p .. 'in_force', ARGV[1], to)
redis.call('LPUSH', p .. 'history:' .. ARGV[1], cjson.encode({to, 'rollback', ARGV[3], ARGV[4]}))
changed()
return to
"""
)

#: ARGV, for each decision: member, id, choice, completion id, at, route, policy, confidence, by confidence (1),
#: minute, outcome, body, text; '' for a missing value
ADD_DECISIONS = (
    _HEAD
    + """
for i = 1, #ARGV, 13 do
  local member, id, choice, completion, at, route, policy, confidence, served, minute, outcome, body, text =
    unpack(ARGV, i, i + 12)
  if redis.call('HSETNX', p .. 'decisions', member, body) == 1 then
    local choices = redis.call('HGET', p .. 'choices', id)
    redis.call('HSET', p .. 'choices', id, choices and choices .. ',' .. choice or choice)
    if completion ~= '' then redis.call('HSET', p .. 'completions', completion, id) end
    if text ~= '' then redis.call('HSET', p .. 'texts', member, text) end
    redis.call('ZADD', p .. 'at', at, member)
    redis.call('ZADD', p .. 'at:' .. route, at, member)
    if confidence ~= '' then redis.call('ZADD', p .. 'confidence:' .. route, confidence, member) end
    if served == '1' and policy ~= '' then redis.call('HINCRBY', p .. 'tallies', route .. ' ' .. policy, 1) end
    redis.call('HINCRBY', p .. 'counts:' .. minute, outcome, 1)
    redis.call('ZADD', p .. 'minutes', minute, minute)
  end
end
"""
)

#: ARGV, for each item: member, route, policy, brief, body
ADD_AUDIT = (
    _HEAD
    + """
for i = 1, #ARGV, 5 do
  local member, route, policy, brief, body = unpack(ARGV, i, i + 4)
  if redis.call('HSETNX', p .. 'audit', member, body) == 1 then
    local place = redis.call('INCR', p .. 'places')
    redis.call('HSET', p .. 'brief', member, brief)
    redis.call('ZADD', p .. 'audit:' .. route, place, member)
    redis.call('ZADD', p .. 'watched:' .. route .. ' ' .. policy, place, member)
  end
end
"""
)

#: ARGV: member, source, label, body, at, route, policy, by confidence (1) -> 1 if it changed anything
ADD_LABEL = (
    _HEAD
    + """
local field = ARGV[1] .. ':' .. ARGV[2]
local kept = redis.call('HGET', p .. 'labels', field)
if kept and cjson.decode(kept).label == ARGV[3] then return 0 end
redis.call('HSET', p .. 'labels', field, ARGV[4])
redis.call('ZADD', p .. 'labelled:' .. ARGV[6], ARGV[5], field)
if ARGV[2] == 'feedback' then
  local wrong = ARGV[3] == 'incorrect' and ARGV[8] == '1'
  redis.call(wrong and 'SADD' or 'SREM', p .. 'reported:' .. ARGV[6] .. ' ' .. ARGV[7], ARGV[1])
end
changed()
return 1
"""
)

#: ARGV: member, source, route, policy -> 1 if there was one
REMOVE_LABEL = (
    _HEAD
    + """
local field = ARGV[1] .. ':' .. ARGV[2]
if redis.call('HDEL', p .. 'labels', field) == 0 then return 0 end
redis.call('ZREM', p .. 'labelled:' .. ARGV[3], field)
if ARGV[2] == 'feedback' then redis.call('SREM', p .. 'reported:' .. ARGV[3] .. ' ' .. ARGV[4], ARGV[1]) end
changed()
return 1
"""
)

#: ARGV: route, revision, body, alarm or '' -> 1 if the revision follows the stored one
#: A revoked certificate is written to ``alarms`` too, so that it stays revoked if one of the two is lost.
PUT_RISK = (
    _HEAD
    + """
local body = redis.call('HGET', p .. 'risks', ARGV[1])
local kept = redis.call('HGET', p .. 'risk_revisions', ARGV[1])
if not kept and body then kept = cjson.decode(body).revision end
if tonumber(ARGV[2]) ~= tonumber(kept or '0') + 1 then return 0 end
redis.call('HSET', p .. 'risk_revisions', ARGV[1], ARGV[2])
redis.call('HSET', p .. 'risks', ARGV[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HSET', p .. 'alarms', ARGV[1], ARGV[4])
else
  redis.call('HDEL', p .. 'alarms', ARGV[1])
end
changed()
return 1
"""
)

#: ARGV, for each decision: member, id, route, policy, completion id
DELETE_DECISIONS = (
    _HEAD
    + """
for i = 1, #ARGV, 5 do
  local member, id, route, policy, completion = unpack(ARGV, i, i + 4)
  redis.call('HDEL', p .. 'decisions', member)
  redis.call('HDEL', p .. 'texts', member)
  local left = {}
  for choice in string.gmatch(redis.call('HGET', p .. 'choices', id) or '', '[^,]+') do
    if id .. ':' .. choice ~= member then table.insert(left, choice) end
  end
  if #left > 0 then
    redis.call('HSET', p .. 'choices', id, table.concat(left, ','))
  else
    redis.call('HDEL', p .. 'choices', id)
    if completion ~= '' then redis.call('HDEL', p .. 'completions', completion) end
  end
  redis.call('ZREM', p .. 'at', member)
  redis.call('ZREM', p .. 'at:' .. route, member)
  redis.call('ZREM', p .. 'confidence:' .. route, member)
  redis.call('HDEL', p .. 'audit', member)
  redis.call('HDEL', p .. 'brief', member)
  redis.call('ZREM', p .. 'audit:' .. route, member)
  redis.call('ZREM', p .. 'watched:' .. route .. ' ' .. policy, member)
  redis.call('SREM', p .. 'reported:' .. route .. ' ' .. policy, member)
  for _, source in ipairs({'audit', 'feedback', 'judge'}) do
    redis.call('HDEL', p .. 'labels', member .. ':' .. source)
    redis.call('ZREM', p .. 'labelled:' .. route, member .. ':' .. source)
  end
end
"""
)

#: ARGV: account, amount, most or '', now -> -1, or the milliseconds until the amount may be spent (see ``window``).
#: The key expires when none of its seconds counts any more.
SPEND = (
    _HEAD
    + """
local key = p .. 'spent:' .. ARGV[1]
local amount, most, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local second = math.floor(now)
local found, total = {}, 0
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local at, spent = tonumber(all[i]), tonumber(all[i + 1])
  if at < second - 60 then
    redis.call('HDEL', key, all[i])
  else
    if at > second + 60 then
      redis.call('HDEL', key, all[i])
      redis.call('HINCRBY', key, second, spent)
      at = second
    end
    found[#found + 1] = {at, spent}
    total = total + spent
  end
end
local excess = total + math.max(amount, 1) - (most or 0)
if most and excess > 0 then
  table.sort(found, function(a, b) return a[1] < b[1] end)
  for _, each in ipairs(found) do
    excess = excess - each[2]
    if excess <= 0 then return math.max(0, math.ceil((each[1] + 61 - now) * 1000)) end
  end
  return 60000
end
if amount > 0 then
  redis.call('HINCRBY', key, second, amount)
  redis.call('EXPIRE', key, 62)
end
return -1
"""
)

#: ARGV: name, key -> 1, or 0 if the name exists
PUT_KEY = (
    _HEAD
    + """
if redis.call('HEXISTS', p .. 'revoked', ARGV[1]) == 1 then return 0 end
if redis.call('HSETNX', p .. 'keys', ARGV[1], ARGV[2]) == 0 then return 0 end
changed()
return 1
"""
)

#: ARGV: name, time, revoked key -> 1, or 0 if no valid key has this name
#: Both records say that the key is revoked, so that it stays revoked if one of them is lost.
REVOKE_KEY = (
    _HEAD
    + """
if redis.call('HEXISTS', p .. 'keys', ARGV[1]) == 0 then return 0 end
if redis.call('HSETNX', p .. 'revoked', ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HSET', p .. 'keys', ARGV[1], ARGV[3])
changed()
return 1
"""
)

#: ARGV, for each key: name, time of use
NOTE_KEY_USES = (
    _HEAD
    + """
for i = 1, #ARGV, 2 do
  local kept = tonumber(redis.call('HGET', p .. 'used', ARGV[i]))
  if not kept or kept < tonumber(ARGV[i + 1]) then redis.call('HSET', p .. 'used', ARGV[i], ARGV[i + 1]) end
end
"""
)

#: ARGV: the first minute to keep
DELETE_COUNTS = (
    _HEAD
    + """
for _, minute in ipairs(redis.call('ZRANGEBYSCORE', p .. 'minutes', '-inf', '(' .. ARGV[1], 'LIMIT', 0, 1000)) do
  redis.call('DEL', p .. 'counts:' .. minute)
  redis.call('ZREM', p .. 'minutes', minute)
end
"""
)
