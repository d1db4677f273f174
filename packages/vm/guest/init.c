// SPDX-License-Identifier: MIT
//
// Process 1 of the guest: builds a root out of the host's, runs one command in it, and ends the
// machine.
//
// It talks with the runner over one virtio-serial port in frames: a type, a length of four bytes
// (little endian), the contents.
//
//   from the host: H  hello, it is there        to the host: S  the command starts
//                  I  input; empty: no more                  O  its output      E  its errors
//                  W  rows and columns                       X  "exited N", "signalled N"
//                                                            F  why it could not be started
//                                                            B  cleaned up, ending
//
// One port rather than several because that keeps order: X comes after the last output. X without B
// is a guest that died cleaning up.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/membarrier.h>
#include <linux/reboot.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT "/dev/vport0p1"
#define DEBUG_EXIT 0xf4
#define NEW "/new"

static int port = -1;
static pid_t command;

// vm.conf: records that end in NUL, each NAME=VALUE.
static char *conf;
static size_t conf_size;

static const char *conf_next(const char *name, const char *after)
{
	size_t length = strlen(name);
	const char *at = after ? after + strlen(after) + 1 : conf;

	for (; at < conf + conf_size; at += strlen(at) + 1)
		if (!strncmp(at, name, length) && at[length] == '=')
			return at + length + 1;
	return NULL;
}

static const char *conf_get(const char *name)
{
	return conf_next(name, NULL);
}

static void write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return;
		at += n;
		size -= n;
	}
}

static void frame(char type, const void *data, uint32_t size)
{
	char head[5] = {type, size, size >> 8, size >> 16, size >> 24};

	write_all(port, head, sizeof(head));
	write_all(port, data, size);
}

// The second way to hand back a status, should the port not work: what QEMU exits with, of which 7
// bits are ours.
static _Noreturn void end(int status)
{
	if (!iopl(3))
		outl(status >= 0 && status < 120 ? status : 120, DEBUG_EXIT);
	reboot(LINUX_REBOOT_CMD_POWER_OFF);
	for (;;)
		pause();
}

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dprintf(2, "init: %s\n", text);
	if (port >= 0)
		frame('F', text, strlen(text));
	end(121);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	write_all(fd, text, strlen(text));
	close(fd);
}

static void make_path(const char *path, mode_t mode)
{
	char part[4096];

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(part, 0755);
		*slash = '/';
	}
	mkdir(part, mode);
}

static void must_mount(const char *what, const char *where, const char *type, unsigned long flags,
		       const char *options)
{
	make_path(where, 0755);
	if (mount(what, where, type, flags, options))
		die("mount %s at %s: %s", type ? type : what, where, strerror(errno));
}

// What the kernel need not have.
static void may_mount(const char *where, const char *type, unsigned long flags, const char *options)
{
	mkdir(where, 0755);
	mount(type, where, type, flags, options);
}

static void open_port(void)
{
	// The driver makes it in a work item.
	for (int tries = 0; tries < 5000; tries++) {
		port = open(PORT, O_RDWR | O_CLOEXEC);
		if (port >= 0)
			return;
		usleep(1000);
	}
	die("no %s: %s", PORT, strerror(errno));
}

static void read_conf(void)
{
	struct stat st;
	int fd = open("/vm.conf", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die("/vm.conf: %s", strerror(errno));
	conf_size = st.st_size;
	conf = calloc(1, conf_size + 1);
	if (!conf || read(fd, conf, conf_size) != (ssize_t)conf_size)
		die("/vm.conf cannot be read");
	close(fd);
}

static void build_root(void)
{
	const char *value;
	char path[4096];
	int n = 0;

	must_mount("root", "/lower", "9p", MS_RDONLY,
		   "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	must_mount("tmpfs", "/rw", "tmpfs", 0, "mode=0755,size=75%");
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	must_mount("overlay", NEW, "overlay", 0,
		   "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work");

	// What shows through, although it is below something that is mounted next.
	for (value = conf_get("keep"); value; value = conf_next("keep", value)) {
		char from[4096 + sizeof(NEW)];

		snprintf(from, sizeof(from), NEW "%s", value);
		snprintf(path, sizeof(path), "/keep/%d", n++);
		must_mount(from, path, NULL, MS_BIND, NULL);
	}

	must_mount("proc", NEW "/proc", "proc", 0, NULL);
	must_mount("sysfs", NEW "/sys", "sysfs", 0, NULL);
	must_mount("devtmpfs", NEW "/dev", "devtmpfs", 0, "mode=0755");
	must_mount("devpts", NEW "/dev/pts", "devpts", 0, "mode=0620,gid=5,ptmxmode=0666");
	must_mount("tmpfs", NEW "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	must_mount("tmpfs", NEW "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	must_mount("tmpfs", NEW "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	may_mount(NEW "/dev/mqueue", "mqueue", 0, NULL);
	may_mount(NEW "/dev/hugepages", "hugetlbfs", 0, NULL);
	may_mount(NEW "/sys/fs/cgroup", "cgroup2", 0, NULL);
	may_mount(NEW "/sys/kernel/debug", "debugfs", 0, NULL);
	mkdir(NEW "/run/lock", 01777);
	chmod(NEW "/run/lock", 01777);
	symlink("/proc/self/fd", NEW "/dev/fd");
	symlink("/proc/self/fd/0", NEW "/dev/stdin");
	symlink("/proc/self/fd/1", NEW "/dev/stdout");
	symlink("/proc/self/fd/2", NEW "/dev/stderr");

	// The mount point is there if the kernel has the feature, and nowhere to make it if not.
	if (!access(NEW "/sys/fs/mshare", F_OK))
		must_mount("msharefs", NEW "/sys/fs/mshare", "msharefs", MS_NOSUID | MS_NODEV,
			   NULL);

	n = 0;
	for (value = conf_get("keep"); value; value = conf_next("keep", value)) {
		char to[4096 + sizeof(NEW)];

		snprintf(to, sizeof(to), NEW "%s", value);
		snprintf(path, sizeof(path), "/keep/%d", n++);
		must_mount(path, to, NULL, MS_MOVE, NULL);
	}
	n = 0;
	for (value = conf_get("share"); value; value = conf_next("share", value)) {
		char to[4096 + sizeof(NEW)], tag[32];

		snprintf(to, sizeof(to), NEW "%s", value);
		snprintf(tag, sizeof(tag), "share%d", n++);
		// Nothing but mappings is cached: what either side writes, the other one reads.
		must_mount(tag, to, "9p", 0,
			   "trans=virtio,version=9p2000.L,msize=512000,cache=mmap");
	}

	if (chdir(NEW) || mount(NEW, "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("switching to the new root: %s", strerror(errno));
}

static void set_up(void)
{
	struct rlimit files = {1024, 524288};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		ioctl(fd, SIOCSIFFLAGS, &lo);
		close(fd);
	}
	sethostname("mshare-vm", 9);
	setrlimit(RLIMIT_NOFILE, &files);
	umask(022);
	// One by one: what this kernel lacks keeps none of the others.
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	put("/sys/fs/cgroup/cgroup.subtree_control", "+pids");
	put("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset");
	put("/sys/fs/cgroup/cgroup.subtree_control", "+hugetlb");
}

// mkswap(8) may not be there, and a header is two numbers and a word.
static void swap_on(const char *bytes)
{
	struct {
		char boot[1024];
		uint32_t version, last_page, bad_pages;
		char rest[4096 - 1024 - 12 - 10];
		char magic[10];
	} __attribute__((packed)) head = {.version = 1};
	int fd;

	put("/sys/block/zram0/disksize", bytes);
	head.last_page = strtoull(bytes, NULL, 10) / 4096 - 1;
	memcpy(head.magic, "SWAPSPACE2", 10);
	fd = open("/dev/zram0", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, &head, sizeof(head)) != sizeof(head) || close(fd) ||
	    swapon("/dev/zram0", 0))
		die("swap on zram0: %s", strerror(errno));
}

static _Noreturn void exec_command(void)
{
	size_t n = 0, count = 0;
	const char *value, *cwd = conf_get("cwd");
	sigset_t none;
	char **argv;

	for (value = conf_get("arg"); value; value = conf_next("arg", value))
		count++;
	argv = calloc(count + 1, sizeof(*argv));
	for (value = conf_get("arg"); value; value = conf_next("arg", value))
		argv[n++] = (char *)value;
	clearenv();
	for (value = conf_get("env"); value; value = conf_next("env", value))
		putenv((char *)value);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (chdir(cwd)) {
		dprintf(2, "vm: %s: %s in the guest\n", cwd, strerror(errno));
		_exit(126);
	}
	execvp(argv[0], argv);
	dprintf(2, "vm: %s: %s\n", argv[0],
		errno == ENOENT ? "command not found" : strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

struct streams {
	int in, out, err;
};

static void set_size(int fd, const unsigned char size[4])
{
	struct winsize ws = {.ws_row = size[0] | size[1] << 8, .ws_col = size[2] | size[3] << 8};

	ioctl(fd, TIOCSWINSZ, &ws);
}

static struct streams start(int tty)
{
	int in[2], out[2], err[2], master, slave;

	// Pipes, not the port itself: that opens only once, so /dev/stdout would not.
	if (tty ? openpty(&master, &slave, NULL, NULL, NULL)
		: pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		die("no pipes: %s", strerror(errno));
	frame('S', NULL, 0);
	command = fork();
	if (command < 0)
		die("fork: %s", strerror(errno));
	if (!command) {
		setsid();
		if (tty) {
			ioctl(slave, TIOCSCTTY, 0);
			in[0] = out[1] = err[1] = slave;
			fcntl(master, F_SETFD, FD_CLOEXEC);
		}
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (tty)
			close(slave);
		exec_command();
	}
	if (tty) {
		close(slave);
		fcntl(master, F_SETFL, O_NONBLOCK);
		return (struct streams){master, master, -1};
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	return (struct streams){in[1], out[0], err[0]};
}

// Forward what is there. -1: that was all there will ever be.
static int forward(char type, int fd)
{
	static char buffer[32768];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	if (n > 0)
		frame(type, buffer, n);
	return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

// What the host sends, collected until a frame is complete. Input that the command does not take
// yet stays here, and the port is not read meanwhile.
static unsigned char inbox[65536];
static size_t inbox_size;
static int greeted;

static int inbox_blocked(struct streams *io, int tty)
{
	while (inbox_size >= 5) {
		uint32_t size = inbox[1] | inbox[2] << 8 | inbox[3] << 16 |
				(uint32_t)inbox[4] << 24;
		size_t used = 5 + size;

		if (size > sizeof(inbox) - 5)
			die("a frame of %u bytes", size);
		if (inbox_size < used)
			return 0;
		if (inbox[0] == 'H') {
			greeted = 1;
		} else if (inbox[0] == 'W' && size == 4 && tty && io->in >= 0) {
			set_size(io->in, inbox + 5);
		} else if (inbox[0] == 'I' && io->in >= 0) {
			ssize_t n = size ? write(io->in, inbox + 5, size) : 0;

			if (n < 0 && errno == EAGAIN)
				return 1;
			if (n >= 0 && n < (ssize_t)size) {
				uint32_t left = size - n;

				memmove(inbox + 5, inbox + 5 + n, inbox_size - 5 - n);
				inbox_size -= n;
				for (int i = 0; i < 4; i++)
					inbox[1 + i] = left >> 8 * i;
				return 1;
			}
			// A terminal's end of input is a character that the host has sent.
			if ((!size || n < 0) && !tty) {
				close(io->in);
				io->in = -1;
			}
		}
		memmove(inbox, inbox + used, inbox_size - used);
		inbox_size -= used;
	}
	return 0;
}

// Until the command has ended: its wait status. -1: the host has gone.
static int serve(struct streams *io, int tty)
{
	sigset_t mask;
	int ended = 0, status = 0, children;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	children = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);

	while (!ended) {
		int blocked = inbox_blocked(io, tty);
		struct pollfd fds[] = {
			{children, POLLIN, 0},
			{io->out, POLLIN, 0},
			{io->err, POLLIN, 0},
			{port, blocked ? 0 : POLLIN, 0},
			{blocked ? io->in : -1, POLLOUT, 0},
		};
		struct signalfd_siginfo info;
		pid_t pid;
		int how;

		if (poll(fds, 5, -1) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (fds[1].revents && forward('O', io->out) < 0)
			io->out = -1;
		if (fds[2].revents && forward('E', io->err) < 0)
			io->err = -1;
		if (fds[3].revents & (POLLIN | POLLHUP)) {
			ssize_t n = read(port, inbox + inbox_size, sizeof(inbox) - inbox_size);

			if (n > 0)
				inbox_size += n;
			else if (greeted && fds[3].revents & POLLHUP)
				return -1;
		}
		while (read(children, &info, sizeof(info)) > 0)
			;
		while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
			if (pid == command) {
				ended = 1;
				status = how;
			}
		}
	}
	// What it left in the pipes; not what others, who may hold them open, will still write.
	while (io->out >= 0 && forward('O', io->out) > 0)
		;
	while (io->err >= 0 && forward('E', io->err) > 0)
		;
	return status;
}

// What goes wrong when the last process or the last region goes should be in the log as well.
static void clean_up(void)
{
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	while (!umount2("/sys/fs/mshare", 0))
		;
	// This waits for a grace period of RCU: what is freed after one has been freed.
	for (int i = 0; i < 2; i++)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

int main(void)
{
	struct streams io;
	int tty, status, number;
	sigset_t mask;
	char text[32];

	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755");
	open_port();
	read_conf();
	build_root();
	set_up();
	if (conf_get("swap"))
		swap_on(conf_get("swap"));

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);

	tty = conf_get("tty") != NULL;
	io = start(tty);
	status = serve(&io, tty);
	if (status < 0)
		end(121);
	number = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
	snprintf(text, sizeof(text), "%s %d", WIFEXITED(status) ? "exited" : "signalled", number);
	frame('X', text, strlen(text));
	clean_up();
	frame('B', NULL, 0);
	end(WIFEXITED(status) ? number : 120);
}
