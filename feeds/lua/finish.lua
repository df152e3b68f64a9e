-- Turns a timeline that is being built into a built one.
-- KEYS[1] the timeline    ARGV token, coverage (id), limit
-- Returns 1, or 0 where another rebuild, or nobody, has it now.

local key, building, cover = KEYS[1], 'b:' .. ARGV[1] .. ':' .. reign, ARGV[2]
if call('ZRANGE', key, -1, -1)[1] ~= building then return 0 end
call('ZREM', key, building)
if cover ~= '0' then call('ZREMRANGEBYSCORE', key, '-' .. cover, '+inf') end
call('ZADD', key, '-' .. cover, built)
trim(key, tonumber(ARGV[3]))
call('PERSIST', key)
return 1
