-- All ids of one timeline, built or being built, and its coverage (0 while it is being built).
-- KEYS[1] the timeline
-- Returns {coverage, id, id ...}, newest first, or nothing where no timeline is.

local last = call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local mark = last[1]
if not mark or string.sub(mark, -12) ~= reign then return false end
local ids = call('ZRANGE', KEYS[1], 0, -2)
table.insert(ids, 1, mark == built and integer(last[2]) or '0')
return ids
