/* Robust mutexes of the C library, as some other library of a program would have them: tests/neighbour/mod.rs. */

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

size_t neighbour_size(void)
{
    return sizeof(pthread_mutex_t);
}

int neighbour_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (!error)
        error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (!error)
        error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    return error ? error : pthread_mutex_init(mutex, &attributes);
}

/* What a dead owner has left counts as repaired, and is told all the same: EOWNERDEAD. */
static int taken(pthread_mutex_t *mutex, int error)
{
    if (error == EOWNERDEAD)
        pthread_mutex_consistent(mutex);
    return error;
}

int neighbour_try(pthread_mutex_t *mutex)
{
    return taken(mutex, pthread_mutex_trylock(mutex));
}

int neighbour_lock(pthread_mutex_t *mutex, unsigned seconds)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += seconds;
    return taken(mutex, pthread_mutex_timedlock(mutex, &end));
}

int neighbour_unlock(pthread_mutex_t *mutex)
{
    return pthread_mutex_unlock(mutex);
}
