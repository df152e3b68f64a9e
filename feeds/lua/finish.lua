-- Turns a timeline that is being built into a built one.
-- KEYS[1] the timeline    ARGV token, coverage (id)
-- Returns 1, or 0 where another rebuild, or nobody, has it now.

local key = KEYS[1]
if mark_of(key) ~= 'b:' .. ARGV[1] .. ':' .. reign then return 0 end
write(key, call('LRANGE', key, 0, -2), ARGV[2])
return 1
