/* What begins an Android program, in place of the NDK's crtbegin_dynamic.o: the kernel's stack goes to bionic's
 * __libc_init, which runs main and exits with its result. */

/* Lists of functions to run before and after main. In bionic's form they begin with -1 and end with 0. Later versions
 * of bionic read further members, which are zero here. */
typedef struct {
  void (**before_init)(void);
  void (**init)(void);
  void (**fini)(void);
  unsigned long further[5];
} structors;

_Noreturn void __libc_init(void *stack, void (*on_exit)(void), int (*main_function)(int, char **, char **),
                           const structors *lists);
int main(int count, char **arguments);

static void (*none[])(void) = {(void (*)(void))-1, 0};

static int run_main(int count, char **arguments, char **environment) {
  (void)environment;
  return main(count, arguments);
}

__attribute__((used, visibility("hidden"))) void pamc_start(void *stack) {
  static const structors lists = {none, none, none, {0}};
  __libc_init(stack, 0, run_main, &lists);
}

__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "  mov x29, #0\n"
    "  mov x30, #0\n"
    "  mov x0, sp\n"
    "  b pamc_start\n");
