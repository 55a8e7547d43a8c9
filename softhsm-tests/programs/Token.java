import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.security.cert.*;
import java.security.interfaces.*;
import java.security.spec.*;
import java.util.*;
import javax.crypto.*;
import javax.crypto.spec.*;
import javax.net.ssl.*;

/**
 * A token as Java sees it: java Token.java CONFIGURATION PIN services, or java Token.java CONFIGURATION PIN get ALIAS AUTHORITY URL.
 *
 * "services" uses every service that SunPKCS11 makes of the token's mechanisms, with proper input, and has another provider agree
 * wherever there is one: a line "ok TYPE ALGORITHM", "FAILED TYPE ALGORITHM: why" or, if Java fails by itself, "not called TYPE
 * ALGORITHM" for each. "get" opens a page with a certificate.
 */
class Token {
    static final byte[] MESSAGE = "a message that is longer than one block of any cipher or hash ".repeat(5).getBytes();
    static final byte[] BLOCKS = Arrays.copyOf(MESSAGE, 256);

    /** SunPKCS11 says this of a mechanism's parameter of its own that it cannot hand on: the module is not called. */
    static final String NOT_CALLED = "Java object of this class cannot be converted to native PKCS#11 type";

    static Provider provider;
    static char[] pin;
    static KeyStore keys;

    public static void main(String[] arguments) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        Security.addProvider(provider);
        pin = arguments[1].toCharArray();
        keys = KeyStore.getInstance("PKCS11", provider);
        keys.load(null, pin);
        switch (arguments[2]) {
            case "services" -> System.exit(services() ? 0 : 1);
            case "get" -> get(arguments[3], arguments[4], arguments[5]);
            default -> throw new IllegalArgumentException(arguments[2]);
        }
    }

    /** A page, shown to who has this certificate. */
    static void get(String alias, String authority, String url) throws Exception {
        X509KeyManager chosen = new X509ExtendedKeyManager() {
            public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) { return alias; }
            public String[] getClientAliases(String type, Principal[] issuers) { return new String[] { alias }; }
            public String chooseServerAlias(String type, Principal[] issuers, Socket socket) { return null; }
            public String[] getServerAliases(String type, Principal[] issuers) { return null; }
            public X509Certificate[] getCertificateChain(String name) {
                return new X509Certificate[] { certificate(name) };
            }
            public PrivateKey getPrivateKey(String name) { return privateKey(name); }
        };
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        try (InputStream file = new FileInputStream(authority)) {
            trusted.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(new KeyManager[] { chosen }, trust.getTrustManagers(), null);
        HttpsURLConnection connection = (HttpsURLConnection) new URL(url).openConnection();
        connection.setSSLSocketFactory(context.getSocketFactory());
        try (InputStream page = connection.getInputStream()) {
            System.out.println(connection.getResponseCode());
            System.out.println(new String(page.readAllBytes(), StandardCharsets.UTF_8));
        }
    }

    static boolean services() {
        boolean all = true;
        List<Provider.Service> services = new ArrayList<>(provider.getServices());
        services.sort(Comparator.comparing(service -> service.getType() + " " + service.getAlgorithm()));
        for (Provider.Service service : services) {
            String name = service.getType() + " " + service.getAlgorithm();
            try {
                use(service.getType(), service.getAlgorithm());
                System.out.println("ok " + name);
            } catch (Exception | Error error) {
                if (String.valueOf(error.getMessage()).startsWith(NOT_CALLED)) {
                    System.out.println("not called " + name);
                    continue;
                }
                all = false;
                StringWriter trace = new StringWriter();
                error.printStackTrace(new PrintWriter(trace));
                System.out.println("FAILED " + name + ": " + trace);
            }
        }
        return all;
    }

    static void use(String type, String algorithm) throws Exception {
        switch (type) {
            case "AlgorithmParameters" -> parameters(algorithm);
            case "Cipher" -> cipher(algorithm);
            case "KeyAgreement" -> agreement(algorithm);
            case "KeyFactory" -> keyFactory(algorithm);
            case "KeyGenerator" -> keyGenerator(algorithm);
            case "KeyPairGenerator" -> keyPairGenerator(algorithm);
            case "KeyStore" -> keyStore(algorithm);
            case "Mac" -> mac(algorithm);
            case "MessageDigest" -> digest(algorithm);
            case "SecretKeyFactory" -> secretKeyFactory(algorithm);
            case "SecureRandom" -> random(algorithm);
            case "Signature" -> signature(algorithm);
            default -> throw new IllegalStateException("no test for a service of this type");
        }
    }

    static void digest(String algorithm) throws Exception {
        MessageDigest ours = MessageDigest.getInstance(algorithm, provider);
        ours.update(MESSAGE, 0, 3);
        ours.update(MESSAGE, 3, MESSAGE.length - 3);
        MessageDigest theirs = MessageDigest.getInstance(algorithm, other("MessageDigest", algorithm));
        same(theirs.digest(MESSAGE), ours.digest());
        same(theirs.digest(new byte[0]), ours.digest(new byte[0]));
    }

    static void mac(String algorithm) throws Exception {
        SecretKey key = new SecretKeySpec(Arrays.copyOf(MESSAGE, 40), algorithm);
        Mac ours = Mac.getInstance(algorithm, provider);
        ours.init(key);
        ours.update(MESSAGE, 0, 3);
        ours.update(MESSAGE, 3, MESSAGE.length - 3);
        Mac theirs = Mac.getInstance(algorithm, other("Mac", algorithm));
        theirs.init(key);
        same(theirs.doFinal(MESSAGE), ours.doFinal());
        same(theirs.doFinal(new byte[0]), ours.doFinal(new byte[0]));
    }

    static byte[] mac(String algorithm, SecretKey key, byte[] message) throws Exception {
        Mac mac = Mac.getInstance(algorithm, provider);
        mac.init(key);
        return mac.doFinal(message);
    }

    static void cipher(String algorithm) throws Exception {
        if (algorithm.startsWith("RSA")) {
            rsaCipher(algorithm);
            return;
        }
        String transformation = algorithm.contains("/") ? algorithm : algorithm + "/ECB/PKCS5Padding";
        int length = algorithm.contains("_256") ? 32 : algorithm.contains("_192") ? 24 : 16;
        SecretKey key = new SecretKeySpec(Arrays.copyOf(MESSAGE, length), "AES");
        AlgorithmParameterSpec initial = null;
        if (transformation.contains("/GCM/")) {
            initial = new GCMParameterSpec(128, Arrays.copyOf(MESSAGE, 12));
        } else if (!transformation.contains("/ECB/")) {
            initial = new IvParameterSpec(Arrays.copyOf(MESSAGE, 16));
        }
        Provider theirs = other("Cipher", "AES");
        byte[] plaintext = transformation.endsWith("NoPadding") ? BLOCKS : MESSAGE;
        byte[] ciphertext = crypt(theirs, transformation, Cipher.ENCRYPT_MODE, key, initial, plaintext);
        same(ciphertext, crypt(provider, transformation, Cipher.ENCRYPT_MODE, key, initial, plaintext));
        same(plaintext, crypt(provider, transformation, Cipher.DECRYPT_MODE, key, initial, ciphertext));
    }

    static byte[] crypt(Provider from, String transformation, int mode, Key key, AlgorithmParameterSpec initial, byte[] input)
            throws Exception {
        Cipher cipher = Cipher.getInstance(transformation, from);
        cipher.init(mode, key, initial);
        if (transformation.contains("/GCM/")) {
            // SunPKCS11 of Java 17 loses what doFinal is given after an update, with every module.
            return cipher.doFinal(input);
        }
        ByteArrayOutputStream output = new ByteArrayOutputStream();
        byte[] first = cipher.update(input, 0, 21);
        output.writeBytes(first == null ? new byte[0] : first);
        output.writeBytes(cipher.doFinal(input, 21, input.length - 21));
        return output.toByteArray();
    }

    static void rsaCipher(String algorithm) throws Exception {
        String alias = alias("RSA");
        PublicKey open = certificate(alias).getPublicKey();
        boolean padded = !algorithm.endsWith("NoPadding");
        byte[] plaintext = Arrays.copyOf(MESSAGE, padded ? 40 : 256);
        String transformation = algorithm.contains("/") ? algorithm : "RSA/ECB/PKCS1Padding";
        for (Provider from : List.of(provider, other("Cipher", "RSA"))) {
            Cipher encrypt = Cipher.getInstance(transformation, from);
            encrypt.init(Cipher.ENCRYPT_MODE, open);
            byte[] ciphertext = encrypt.doFinal(plaintext);
            Cipher decrypt = Cipher.getInstance(transformation, provider);
            decrypt.init(Cipher.DECRYPT_MODE, privateKey(alias));
            same(plaintext, decrypt.doFinal(ciphertext));
        }
        if (!padded) {
            return;
        }
        SecretKey secret = new SecretKeySpec(Arrays.copyOf(MESSAGE, 32), "AES");
        Cipher wrap = Cipher.getInstance(transformation, other("Cipher", "RSA"));
        wrap.init(Cipher.WRAP_MODE, open);
        byte[] wrapped = wrap.wrap(secret);
        Cipher unwrap = Cipher.getInstance(transformation, provider);
        unwrap.init(Cipher.UNWRAP_MODE, privateKey(alias));
        Key unwrapped = unwrap.unwrap(wrapped, "AES", Cipher.SECRET_KEY);
        same(crypt(other("Cipher", "AES"), "AES/ECB/PKCS5Padding", Cipher.ENCRYPT_MODE, secret, null, MESSAGE),
            crypt(provider, "AES/ECB/PKCS5Padding", Cipher.ENCRYPT_MODE, unwrapped, null, MESSAGE));
    }

    static void agreement(String algorithm) throws Exception {
        String alias = alias("EC");
        ECPublicKey open = (ECPublicKey) certificate(alias).getPublicKey();
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", other("KeyPairGenerator", "EC"));
        generator.initialize(open.getParams());
        KeyPair peer = generator.generateKeyPair();
        KeyAgreement theirs = KeyAgreement.getInstance(algorithm, other("KeyAgreement", algorithm));
        theirs.init(peer.getPrivate());
        theirs.doPhase(open, true);
        KeyAgreement ours = KeyAgreement.getInstance(algorithm, provider);
        ours.init(privateKey(alias));
        ours.doPhase(peer.getPublic(), true);
        same(theirs.generateSecret(), ours.generateSecret());
    }

    static void signature(String algorithm) throws Exception {
        String alias = alias(algorithm.contains("ECDSA") ? "EC" : "RSA");
        PublicKey open = certificate(alias).getPublicKey();
        byte[] message = algorithm.startsWith("NONE") ? Arrays.copyOf(MESSAGE, 32) : MESSAGE;
        byte[] changed = message.clone();
        changed[message.length - 1] ^= 1;
        Signature sign = Signature.getInstance(algorithm, provider);
        if (algorithm.equals("RSASSA-PSS")) {
            sign.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        }
        sign.initSign(privateKey(alias));
        sign.update(message, 0, 3);
        sign.update(message, 3, message.length - 3);
        byte[] signature = sign.sign();
        for (Provider from : verifiers(algorithm)) {
            check(verify(algorithm, from, sign, open, message, signature), from + " does not verify");
            check(!verify(algorithm, from, sign, open, changed, signature), from + " verifies another message");
        }
    }

    static boolean verify(String algorithm, Provider from, Signature like, PublicKey key, byte[] message, byte[] signature)
            throws Exception {
        Signature verify = Signature.getInstance(algorithm.endsWith("RSASSA-PSS") ? "RSASSA-PSS" : algorithm, from);
        if (algorithm.endsWith("RSASSA-PSS")) {
            verify.setParameter(like.getParameters().getParameterSpec(PSSParameterSpec.class));
        }
        verify.initVerify(key);
        verify.update(message);
        return verify.verify(signature);
    }

    /** Ours, and another one if there is one. */
    static List<Provider> verifiers(String algorithm) {
        List<Provider> all = new ArrayList<>(List.of(provider));
        try {
            all.add(other("Signature", algorithm.endsWith("RSASSA-PSS") ? "RSASSA-PSS" : algorithm));
        } catch (NoSuchAlgorithmException error) {
            System.out.println("no other provider has Signature " + algorithm);
        }
        return all;
    }

    static void keyPairGenerator(String algorithm) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm, provider);
        switch (algorithm) {
            case "RSA" -> generator.initialize(2048);
            case "EC" -> generator.initialize(new ECGenParameterSpec("secp256r1"));
            default -> throw new IllegalStateException("no test for keys of this type");
        }
        KeyPair pair = generator.generateKeyPair();
        String signing = "SHA256with" + algorithm.replace("EC", "ECDSA");
        Signature sign = Signature.getInstance(signing, provider);
        sign.initSign(pair.getPrivate());
        sign.update(MESSAGE);
        byte[] signature = sign.sign();
        PublicKey plain = KeyFactory.getInstance(algorithm, other("KeyFactory", algorithm))
            .generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded()));
        Signature verify = Signature.getInstance(signing, other("Signature", signing));
        verify.initVerify(plain);
        verify.update(MESSAGE);
        check(verify.verify(signature), "another provider does not verify");
    }

    static void keyGenerator(String algorithm) throws Exception {
        KeyGenerator generator = KeyGenerator.getInstance(algorithm, provider);
        if (algorithm.startsWith("Hmac")) {
            SecretKey key = generator.generateKey();
            if (provider.getService("Mac", algorithm) != null) {
                same(mac(algorithm, key, MESSAGE), mac(algorithm, key, MESSAGE));
                check(!Arrays.equals(mac(algorithm, key, MESSAGE), mac(algorithm, key, BLOCKS)), "one MAC for all");
            }
            return;
        }
        check(algorithm.equals("AES"), "no test for keys of this type");
        generator.init(256);
        SecretKey key = generator.generateKey();
        byte[] ciphertext = crypt(provider, "AES/ECB/PKCS5Padding", Cipher.ENCRYPT_MODE, key, null, MESSAGE);
        check(!Arrays.equals(Arrays.copyOf(ciphertext, MESSAGE.length), MESSAGE), "nothing is encrypted");
        same(MESSAGE, crypt(provider, "AES/ECB/PKCS5Padding", Cipher.DECRYPT_MODE, key, null, ciphertext));
    }

    static void keyFactory(String algorithm) throws Exception {
        PublicKey open = certificate(alias(algorithm)).getPublicKey();
        KeyFactory factory = KeyFactory.getInstance(algorithm, provider);
        PublicKey made = factory.generatePublic(new X509EncodedKeySpec(open.getEncoded()));
        same(open.getEncoded(), made.getEncoded());
        same(open.getEncoded(), factory.translateKey(open).getEncoded());
    }

    static void secretKeyFactory(String algorithm) throws Exception {
        SecretKey key = new SecretKeySpec(Arrays.copyOf(MESSAGE, 16), algorithm);
        SecretKeyFactory factory = SecretKeyFactory.getInstance(algorithm, provider);
        SecretKeySpec back = (SecretKeySpec) factory.getKeySpec(factory.translateKey(key), SecretKeySpec.class);
        same(key.getEncoded(), back.getEncoded());
    }

    static void parameters(String algorithm) throws Exception {
        AlgorithmParameters parameters = AlgorithmParameters.getInstance(algorithm, provider);
        switch (algorithm) {
            case "EC" -> parameters.init(new ECGenParameterSpec("secp256r1"));
            case "GCM" -> parameters.init(new GCMParameterSpec(128, Arrays.copyOf(MESSAGE, 12)));
            default -> throw new IllegalStateException("no test for these parameters");
        }
        check(parameters.getEncoded().length > 0, "nothing");
    }

    static void random(String algorithm) throws Exception {
        SecureRandom random = SecureRandom.getInstance(algorithm, provider);
        random.setSeed(MESSAGE);
        byte[] first = new byte[32];
        byte[] second = new byte[32];
        random.nextBytes(first);
        random.nextBytes(second);
        check(!Arrays.equals(first, second), "twice the same");
    }

    static void keyStore(String algorithm) throws Exception {
        KeyStore store = KeyStore.getInstance(algorithm, provider);
        store.load(null, pin);
        check(store.size() == 2 && store.isKeyEntry(alias("RSA")) && store.isKeyEntry(alias("EC")), "not both keys");
    }

    static String alias(String type) throws Exception {
        for (String alias : Collections.list(keys.aliases())) {
            if (certificate(alias).getPublicKey().getAlgorithm().equals(type)) {
                return alias;
            }
        }
        throw new IllegalStateException("no key of type " + type);
    }

    static X509Certificate certificate(String alias) {
        try {
            // As a program reads a certificate from a file, with a key that is not on the token.
            byte[] encoded = keys.getCertificate(alias).getEncoded();
            return (X509Certificate) CertificateFactory.getInstance("X.509", "SUN")
                .generateCertificate(new ByteArrayInputStream(encoded));
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    static PrivateKey privateKey(String alias) {
        try {
            return (PrivateKey) keys.getKey(alias, null);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    static Provider other(String type, String algorithm) throws NoSuchAlgorithmException {
        for (Provider each : Security.getProviders()) {
            if (!each.getName().startsWith("SunPKCS11") && each.getService(type, algorithm) != null) {
                return each;
            }
        }
        throw new NoSuchAlgorithmException("no other provider has " + type + " " + algorithm);
    }

    static void same(byte[] wanted, byte[] got) {
        check(Arrays.equals(wanted, got), "not the same: " + HexFormat.of().formatHex(wanted) + " " + HexFormat.of().formatHex(got));
    }

    static void check(boolean right, String wrong) {
        if (!right) {
            throw new IllegalStateException(wrong);
        }
    }
}
