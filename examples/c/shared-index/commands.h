/* SPDX-License-Identifier: MIT */
/* The commands; the program's exit status is what they return. */
#ifndef SHARED_INDEX_COMMANDS_H
#define SHARED_INDEX_COMMANDS_H

#include "index.h"

int command_create(const char *name, size_t window, char *const directories[]);
int command_write(const char *name, unsigned int die_in_file, unsigned int die_in_chunk);
int command_ask(const char *name, char *const queries[]);
int command_dump(const char *name);
int command_status(const char *name);

/* A field of /proc/self/status, kB. */
unsigned long memory_status(const char *field);
/* The line that says what the index costs this process; tables: VmPTE before attaching. */
void print_memory(const struct index *ix, unsigned long tables);

#endif /* SHARED_INDEX_COMMANDS_H */
