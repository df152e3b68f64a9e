-- Adds to and removes from a timeline that is being built.
-- KEYS[1] the timeline    ARGV token, count of ids to add, those ids, the ids to remove
-- Returns 1, or 0 where another rebuild, or nobody, has it now.

local key = KEYS[1]
if call('ZRANGE', key, -1, -1)[1] ~= 'b:' .. ARGV[1] .. ':' .. reign then return 0 end
local added = tonumber(ARGV[2])
for i = 3, 2 + added do call('ZADD', key, '-' .. ARGV[i], ARGV[i]) end
for i = 3 + added, #ARGV do call('ZREM', key, ARGV[i]) end
return 1
