-- Begins to build one timeline; what was there is gone, and another rebuild under way has lost it.
-- KEYS[1] the timeline    ARGV token, seconds until an abandoned one goes

call('DEL', KEYS[1])
call('RPUSH', KEYS[1], 'b:' .. ARGV[1] .. ':' .. reign)
call('EXPIRE', KEYS[1], ARGV[2])
return 1
