-- All ids of one timeline, built or being built, and its coverage (0 while it is being built).
-- KEYS[1] the timeline
-- Returns {coverage, id, id ...}, or nothing where no timeline is. One that is being built may name an id twice.

if not mark_of(KEYS[1]) then return false end
tidy(KEYS[1])
local ids = call('LRANGE', KEYS[1], 0, -1)
table.insert(ids, 1, cover_of(table.remove(ids)) or '0')
return ids
