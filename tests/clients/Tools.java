import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.common.utils.Exit;

/**
 * Apache Kafka's command line tools, one after the other in one JVM, as starting one takes a second or two.
 *
 * <p>A command is a line `SECONDS CLASS ARGUMENT...` with tabs between its fields. Lines `&lt; TEXT` before it are what it
 * reads from stdin. The answer is its output, `1 LINE` for stdout and `2 LINE` for stderr, then `= CODE`, or `= late`
 * after that many seconds, upon which this process ends: nothing ends a tool but itself.
 */
public final class Tools {
    private static final PrintStream ANSWERS = System.out;
    private static final Redirected OUT = new Redirected();
    private static final Redirected ERR = new Redirected();

    public static void main(String[] args) throws Exception {
        // Once, before any tool is loaded: Scala's console keeps the stream that it finds first.
        System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringBuilder stdin = new StringBuilder();
        String line;
        while ((line = commands.readLine()) != null) {
            if (line.startsWith("< ")) {
                stdin.append(line, 2, line.length()).append('\n');
                continue;
            }
            String[] fields = line.split("\t", -1);
            long limit = Long.parseLong(fields[0]);
            String code = run(fields[1], Arrays.copyOfRange(fields, 2, fields.length), stdin.toString(), limit);
            stdin.setLength(0);
            OUT.take().forEach(text -> ANSWERS.println("1 " + text));
            ERR.take().forEach(text -> ANSWERS.println("2 " + text));
            ANSWERS.println("= " + code);
            ANSWERS.flush();
            if (code.equals("late")) {
                Runtime.getRuntime().halt(1);
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private static String run(String name, String[] arguments, String stdin, long limit) throws InterruptedException {
        AtomicReference<Integer> code = new AtomicReference<>();
        CountDownLatch ended = new CountDownLatch(1);
        List<Runnable> hooks = new ArrayList<>();
        Exit.Procedure procedure = (status, message) -> {
            code.compareAndSet(null, status);
            ended.countDown();
            // Nothing may run after an exit, and an exception would be caught by some tools.
            LockSupport.park();
            throw new IllegalStateException("woken after an exit");
        };
        Exit.setExitProcedure(procedure);
        Exit.setHaltProcedure(procedure);
        Exit.setShutdownHookAdder((hook, runnable) -> hooks.add(runnable));
        InputStream before = System.in;
        System.setIn(new ByteArrayInputStream(stdin.getBytes(StandardCharsets.UTF_8)));
        Thread tool = new Thread(() -> {
            try {
                Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
                code.compareAndSet(null, 0);
            } catch (InvocationTargetException e) {
                e.getCause().printStackTrace();
                code.compareAndSet(null, 1); // what a JVM ends with after an exception in main
            } catch (ReflectiveOperationException e) {
                e.printStackTrace();
            }
            ended.countDown();
        }, name);
        tool.setDaemon(true);
        tool.start();
        boolean inTime = ended.await(limit, TimeUnit.SECONDS);
        System.setIn(before);
        if (!inTime) {
            for (StackTraceElement frame : tool.getStackTrace()) {
                System.err.println("\tat " + frame);
            }
            return "late";
        }
        hooks.forEach(Runnable::run);
        for (Thread hook : lateHooks()) {
            hook.start();
            hook.join();
        }
        return String.valueOf(code.get());
    }

    /** Takes what tools told the runtime itself to run at its end (VerifiableProducer). */
    @SuppressWarnings("unchecked")
    private static List<Thread> lateHooks() {
        try {
            Field field = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
            field.setAccessible(true); // with --add-opens java.base/java.lang=ALL-UNNAMED
            Map<Thread, Thread> hooks = (Map<Thread, Thread>) field.get(null);
            List<Thread> named = hooks.keySet().stream()
                .filter(hook -> hook.getName().equals("verifiable-producer-shutdown-hook")).toList();
            named.forEach(hooks::remove);
            return named;
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Keeps what is written until it is taken. */
    private static final class Redirected extends OutputStream {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int b) {
            bytes.write(b);
        }

        @Override
        public synchronized void write(byte[] b, int offset, int length) {
            bytes.write(b, offset, length);
        }

        synchronized List<String> take() {
            List<String> lines = bytes.toString(StandardCharsets.UTF_8).lines().toList();
            bytes.reset();
            return lines;
        }
    }
}
