// SPDX-License-Identifier: MIT
/*
 * mshare-run, linked with a new glibc, starts on an old one, too: crt1.o would ask for
 * __libc_start_main() as it is since 2.34, and has this put in its place (--wrap).
 */
#if defined(__x86_64__)
__asm__(".symver old_start_main, __libc_start_main@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver old_start_main, __libc_start_main@GLIBC_2.17");
#endif

typedef int entry(int argc, char **argv, char **envp);
typedef void hook(void);

int old_start_main(entry *main, int argc, char **argv, entry *init, hook *fini, hook *rtld_fini,
		   void *stack_end);
int __wrap___libc_start_main(entry *main, int argc, char **argv, entry *init, hook *fini,
			     hook *rtld_fini, void *stack_end);

int __wrap___libc_start_main(entry *main, int argc, char **argv, entry *init, hook *fini,
			     hook *rtld_fini, void *stack_end)
{
	return old_start_main(main, argc, argv, init, fini, rtld_fini, stack_end);
}
