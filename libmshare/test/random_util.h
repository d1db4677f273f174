/* SPDX-License-Identifier: MIT */
/* Random numbers that a seed repeats: Steele, Lea and Flood's SplitMix64 (OOPSLA 2014). */
#ifndef RANDOM_UTIL_H
#define RANDOM_UTIL_H

#include <stdint.h>

static uint64_t random_state = 1;

static inline uint64_t rnd(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint64_t below(uint64_t n)
{
	return rnd() % n;
}

#endif
