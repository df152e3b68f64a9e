-- Adds to and removes from a timeline that is being built.
-- KEYS[1] the timeline    ARGV token, count of ids to add, those ids, the ids to remove
-- Returns 1, or 0 where another rebuild, or nobody, has it now.

local key, added = KEYS[1], tonumber(ARGV[2])
if mark_of(key) ~= 'b:' .. ARGV[1] .. ':' .. reign then return 0 end
for i = 3, 2 + added do call('LPUSH', key, ARGV[i]) end
for i = 3 + added, #ARGV do call('LREM', key, 0, ARGV[i]) end
return 1
